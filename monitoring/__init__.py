"""What is measured, and how it leaves the process: metric catalogue, recorder, exposition, canary, dashboards."""
