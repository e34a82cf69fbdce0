"""The images, run as compose.yaml says, with databases from wheels beside them."""
