"""`python -m parti_operator` is `parti-operator`."""

from parti_operator.main import main

main()
