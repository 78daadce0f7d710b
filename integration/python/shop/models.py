from django.db import models


class Product(models.Model):
    name = models.TextField(unique=True)
    stock = models.IntegerField()
    at = models.DateTimeField(auto_now_add=True)
