#!/bin/sh
# Every command of /opt/kafka/bin is a link to this file; its own name says which class to run.
set -eu
heap=-Xmx256m
case $(basename "$0") in
  kafka-server-start.sh) class=kafka.Kafka heap="-Xms256m -Xmx512m" ;;
  kafka-storage.sh) class=kafka.tools.StorageTool ;;
  kafka-topics.sh) class=org.apache.kafka.tools.TopicCommand ;;
  kafka-configs.sh) class=kafka.admin.ConfigCommand ;;
  kafka-acls.sh) class=org.apache.kafka.tools.AclCommand ;;
  kafka-consumer-groups.sh) class=org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
  kafka-broker-api-versions.sh) class=org.apache.kafka.tools.BrokerApiVersionsCommand ;;
  kafka-metadata-quorum.sh) class=org.apache.kafka.tools.MetadataQuorumCommand ;;
  *) echo "$0 is none of the commands of this image" >&2; exit 127 ;;
esac
# shellcheck disable=SC2086 # options are words
exec java ${KAFKA_HEAP_OPTS:-$heap} ${KAFKA_JVM_PERFORMANCE_OPTS:--XX:+UseSerialGC -XX:TieredStopAtLevel=1} \
  -Dorg.slf4j.simpleLogger.defaultLogLevel="${KAFKA_LOG_LEVEL:-warn}" -Dorg.slf4j.simpleLogger.showDateTime=true \
  ${KAFKA_OPTS:-} -cp '/opt/kafka/libs/*' "$class" "$@"
