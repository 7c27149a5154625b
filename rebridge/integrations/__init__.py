"""Facades under which other libraries know the parts of this one."""
