"""A shop on Django: its own migrations and those of Django's parts, threads, sessions."""
import os
import threading

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections, transaction

from check import check

DRIVER = "Django"
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions", "shop"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    SECRET_KEY="of a test", TIME_ZONE="Europe/Berlin", USE_TZ=True,
    DATABASES={"default": {
        "ENGINE": "django.db.backends.postgresql", "HOST": os.environ["PGHOST"], "PORT": os.environ["PGPORT"],
        "NAME": os.environ["PGDATABASE"], "USER": os.environ["PGUSER"], "PASSWORD": os.environ["PGPASSWORD"],
        "OPTIONS": {"sslmode": os.environ["PGSSLMODE"], "sslrootcert": os.environ["PGSSLROOTCERT"]},
    }},
)
django.setup()


from shop.models import Product  # noqa: E402, after the set-up


@check(DRIVER, "migrations (Pooling49)")
def _():
    call_command("migrate", verbosity=0)
    call_command("migrate", "shop", "0001", verbosity=0)
    call_command("migrate", verbosity=0)
    assert Product.objects.get().name == "first"


@check(DRIVER, "transactions of threads")
def _():
    Product.objects.create(name="book", stock=100)
    failed = []

    def buy():
        try:
            for _ in range(10):
                with transaction.atomic():
                    book = Product.objects.select_for_update().get(name="book")
                    book.stock -= 1
                    book.save()
        except Exception as err:
            failed.append(err)
        finally:
            connections.close_all()
    threads = [threading.Thread(target=buy) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed, failed
    assert Product.objects.get(name="book").stock == 20


@check(DRIVER, "savepoints and errors")
def _():
    from django.db import IntegrityError
    with transaction.atomic():
        Product.objects.create(name="pen", stock=1)
        try:
            with transaction.atomic():
                Product.objects.create(name="pen", stock=2)
            raise AssertionError("two pens")
        except IntegrityError:
            pass
    assert Product.objects.filter(name="pen").count() == 1


@check(DRIVER, "iterators and time zones")
def _():
    Product.objects.bulk_create(Product(name=f"bulk {i}", stock=i) for i in range(1000))
    # Its cursors outlive the transaction, which other poolers make it give up.
    assert sum(1 for _ in Product.objects.filter(name__startswith="bulk").iterator(chunk_size=100)) == 1000
    with connection.cursor() as cursor:
        cursor.execute("show timezone")
        assert cursor.fetchone() == ("UTC",)


@check(DRIVER, "users and sessions")
def _():
    from django.contrib.auth.models import User
    from django.contrib.sessions.backends.db import SessionStore
    User.objects.create_user("ann", password="secret")
    assert User.objects.get(username="ann").check_password("secret")
    session = SessionStore()
    session["cart"] = [1, 2]
    session.save()
    assert SessionStore(session.session_key)["cart"] == [1, 2]


call_command("migrate", "shop", "zero", verbosity=0)
with connection.cursor() as cursor:
    cursor.execute("drop table django_session, auth_user_user_permissions, auth_user_groups, auth_group_permissions, auth_user, auth_group, auth_permission, django_content_type, django_migrations")
