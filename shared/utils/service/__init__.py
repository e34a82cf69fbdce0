"""What two services need: settings, logs, health, HTTP clients, the embedded servers."""
