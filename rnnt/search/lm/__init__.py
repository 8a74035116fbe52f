"""Language models in the search beyond n-grams over tokens."""
