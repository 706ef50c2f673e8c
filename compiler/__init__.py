"""Floor 5, the roof: the pipeline, its inputs (frontends), its outputs (export, report) and the command line."""
