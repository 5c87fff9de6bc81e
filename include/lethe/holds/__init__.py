"""Legal holds and restrictions: what they cover (`rules`), where they are kept (`registry`), how they bind (`gate`)."""
