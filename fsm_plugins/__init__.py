"""Plugin lifecycles as explicit finite state machines that you can run, prove and draw."""
