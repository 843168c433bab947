"""One file per place that can keep bytes; each is a `vault.driver.Driver`."""
