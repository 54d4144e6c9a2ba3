"""What a discovery will fetch and cost, before it is done."""
