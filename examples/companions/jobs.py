"""The work of the queue: any functions go here."""


def report():
    print("reported")


def clean_up():
    print("cleaned up")
