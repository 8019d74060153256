"""Tuners that PEFT does not have, added through its extension points; each module registers one."""
