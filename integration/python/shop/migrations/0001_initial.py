from django.db import migrations, models


def first(apps, _):
    apps.get_model("shop", "Product").objects.create(name="first", stock=1)


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel("Product", [
            ("id", models.BigAutoField(primary_key=True)),
            ("name", models.TextField(unique=True)),
            ("stock", models.IntegerField()),
            ("at", models.DateTimeField(auto_now_add=True)),
        ]),
        migrations.RunPython(first, migrations.RunPython.noop),
    ]
