"""The laws that the rules obey, and the gauge that checks an implementation against them."""
