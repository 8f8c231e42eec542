"""What supervisor, template and workers say to each other, and how it is put into bytes."""
