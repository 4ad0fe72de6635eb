"""What a genotype is good for besides classes: embeddings and feature maps, a detector on top."""
