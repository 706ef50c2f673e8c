"""What a run found, written down: report.json (schema 1) and report.html."""
