#!/bin/sh
# Try ptb-s3 on each S3 server that the package registries give, and print one table. Not part of CI.
#
#   sh infra/servers.sh                    all of them; the first time, half an hour
#   sh infra/servers.sh rclone s3mock      some
#   AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... sh infra/servers.sh http://127.0.0.1:8000
#
# SeaweedFS and moto come with the environment, ministack from a wheel; MinIO, versitygw, rclone and
# gofakes3 are built with Go, s3s-fs with cargo; s3proxy and S3Mock come from Maven Central, and run
# with Java 17. One that is not to be had has a row that says why. Each runs on the loopback
# interface, in a temporary folder, with made-up credentials; what was built stays in the cache.
#
# On each: ptb-s3 doctor, four bots that write one state at once, the store's contract. Ends with 1
# where an acknowledged update is missing at the end and nobody was told, or a server cannot be
# tried. A storage that is not safe has to be refused.
#
# Ceph's gateway is started by hand, for it takes a monitor and three stores. On Debian, as root:
#
#   apt-get install ceph-mon ceph-osd ceph-mgr radosgw
#   fsid, mon and mgr as in Ceph's "Manual Deployment", with osd_objectstore = memstore on three
#   OSDs and, in [client.rgw], rgw_frontends = "beast endpoint=127.0.0.1:8000"
#   radosgw-admin user create --uid=trial --display-name=Trial \
#       --access-key=made-up --secret-key=made-up-secret
#   radosgw -n client.rgw -f
#
# and then given as a URL, as above. Its region is that of the zone group: AWS_DEFAULT_REGION=default.
set -eu
cd "$(dirname "$0")/.."

# shellcheck source=infra/venv.sh
. infra/venv.sh
make_venv test

exec "$venv/bin/python" -m tests.providers "$@"
