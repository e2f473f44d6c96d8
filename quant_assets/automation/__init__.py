"""What runs by itself: schedules, sensors and the small jobs that they start."""
