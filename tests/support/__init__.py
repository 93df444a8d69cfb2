"""What several test files share: builders, fixtures and programs. No test lives here."""
