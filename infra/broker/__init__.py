"""Brokers: Apache Kafka from Maven Central, the embedded fallback, and which of them to use."""
