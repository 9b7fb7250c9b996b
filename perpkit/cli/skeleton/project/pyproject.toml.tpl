[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "$distribution"
version = "0.1.0"
description = $description
requires-python = ">=3.11"
dependencies = ["perpkit"]

[project.optional-dependencies]
test = ["perpkit[conformance]"]

[project.entry-points."exchange_clients.venues"]
$name = "$package:VENUE"

[project.entry-points."exchange_simulator.dialects"]
$name = "$dialect:DIALECT"

[tool.hatch.build.targets.wheel]
packages = ["$package"]

[tool.ruff]
line-length = 140
target-version = "py311"

[tool.mypy]
strict = true
explicit_package_bases = true

[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["."]
addopts = ["--import-mode=importlib"]
asyncio_mode = "auto"
markers = ["slow: takes longer than a quarter of a second"]
