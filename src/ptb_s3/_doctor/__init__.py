"""What `ptb-s3 doctor` looks into: `examination` asks and tries, `setup` and `trials` judge."""
