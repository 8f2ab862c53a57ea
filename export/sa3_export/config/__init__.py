"""model_config.json and the text encoder's config.json, read strictly."""
