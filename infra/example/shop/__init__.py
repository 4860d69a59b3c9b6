"""A bot in several modules, such as yours: the hosts of ptb_s3 run it as it is."""
