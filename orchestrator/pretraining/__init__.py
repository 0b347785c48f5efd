"""How this project's own vit_t gets its weights: drawn scenes, SAM's recipe, a card that tells all of it."""
