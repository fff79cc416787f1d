"""What Goldlink's Python tests share. Standard library only."""
