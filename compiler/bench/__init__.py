"""`secateur bench`: measurements that are there to be run again."""
