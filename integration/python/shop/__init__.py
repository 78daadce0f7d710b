"""The Django application of shop_django."""
