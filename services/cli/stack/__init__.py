"""The whole platform on one machine, under one folder: databases, services, trainers."""
