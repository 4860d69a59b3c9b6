command -v minio
