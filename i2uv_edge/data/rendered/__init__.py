"""What rendered pictures are made of; `i2uv_edge.data.synthetic` puts it together."""
