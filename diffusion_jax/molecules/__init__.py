"""Cata-condensed polybenzenoids: all of them, their energies and atoms, and which rings are one."""
