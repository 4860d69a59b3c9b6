"""The demo: a real bot, a real S3 server, and a process that is killed in the middle."""
