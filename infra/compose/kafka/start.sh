#!/bin/sh
# Runs one node of the Kafka cluster: writes its configuration, formats an empty disk, becomes the broker.
#
#   KAFKA_NODE       its number
#   KAFKA_HOST       how the others and the clients reach it
#   KAFKA_VOTERS     every node: NUMBER@HOST:PORT,…
#   KAFKA_CLUSTER_ID the same for all: 16 bytes in URL-safe base64
set -eu
here=$(dirname "$0")
data=${KAFKA_DATA:-/var/lib/kafka/data}
libs=${KAFKA_LIBS:-/opt/kafka/libs}
port=${KAFKA_PORT:-9092}
controller_port=${KAFKA_CONTROLLER_PORT:-9093}
properties=${KAFKA_PROPERTIES:-/tmp/server.properties}

{
  cat "$here/server.properties"
  echo "node.id=$KAFKA_NODE"
  echo "controller.quorum.voters=$KAFKA_VOTERS"
  echo "listeners=INTERNAL://:$port,CONTROLLER://:$controller_port"
  echo "advertised.listeners=INTERNAL://$KAFKA_HOST:$port"
  echo "log.dirs=$data"
} >"$properties"

KAFKA_HEAP=${KAFKA_HEAP:-512m}
set -- -Xms"$KAFKA_HEAP" -Xmx"$KAFKA_HEAP" -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:+ExitOnOutOfMemoryError \
  -Djava.awt.headless=true "-Dlog4j2.configurationFile=$here/log4j2.properties" -cp "$libs/*"

[ -f "$data/meta.properties" ] ||
  java "$@" kafka.tools.StorageTool format --cluster-id "$KAFKA_CLUSTER_ID" --config "$properties"
exec java "$@" kafka.Kafka "$properties"
