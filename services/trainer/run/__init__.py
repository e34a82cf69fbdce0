"""The process that does one job: trains, exports, registers, and says how it ended."""
