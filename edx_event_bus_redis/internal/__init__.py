"""For use by this package only: its modules, names and behaviour may change in any release."""
