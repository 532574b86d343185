"""`create_app()`: settings, services, web layer, blueprints."""
