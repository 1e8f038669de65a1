"""
A Tutor plugin: the event bus on Redis for LMS and Studio, and pools of consumers as services.

Copy it to the directory that ``tutor plugins printroot`` tells; docs/how-to/tutor.rst says how to go on. What is set
here are defaults: ``tutor config save --set NAME=VALUE``, or ``tutor config edit``, changes them.
"""

from tutor import hooks

DEFAULTS = {
    # What pip installs into the image, in the place of the published package.
    "REQUIREMENT": "edx-event-bus-redis[hiredis]>=2.0,<3",
    # Of the Redis server; Tutor itself uses 0 and 1.
    "DB": 2,
    "CONNECTION_URL": (
        "redis://"
        "{% if REDIS_PASSWORD %}"
        "{{ REDIS_USERNAME|urlencode }}:{{ REDIS_PASSWORD|urlencode|replace('/', '%2F') }}@"
        "{% endif %}"
        "{{ REDIS_HOST }}:{{ REDIS_PORT }}/{{ EVENT_BUS_REDIS_DB }}"
    ),
    "TOPIC_PREFIX": "openedx",
    # As EVENT_BUS_PRODUCER_CONFIG of openedx-events; it is added to what the platform has.
    "PRODUCER_CONFIG": {
        "org.openedx.content_authoring.xblock.published.v1": {
            "content-authoring-xblock-lifecycle": {"event_key_field": "xblock_info.usage_key", "enabled": True},
        },
    },
    # One service for each. "service" is lms or cms; "extra" are more keys of --extra.
    "CONSUMERS": [
        {
            "name": "lms-xblock-lifecycle",
            "service": "lms",
            "topic": "content-authoring-xblock-lifecycle",
            "group": "lms",
            "workers": "1-4",
            "extra": {"max_retries": 5},
        },
    ],
    # Seconds that a pool has to finish its events when it is stopped.
    "SHUTDOWN_TIMEOUT": 30,
    # Port for probes and metrics, within each container.
    "MONITOR_PORT": 9100,
}

DOCKERFILE = """
RUN $PIP_COMMAND install '{{ EVENT_BUS_REDIS_REQUIREMENT }}'
"""

# Of LMS and Studio, in production and in development.
SETTINGS = """
# The event bus on Redis
from openedx_events.event_bus import merge_producer_configs
INSTALLED_APPS += [app for app in ("openedx_events", "edx_event_bus_redis") if app not in INSTALLED_APPS]
EVENT_BUS_REDIS_CONNECTION_URL = {{ EVENT_BUS_REDIS_CONNECTION_URL|tojson }}
EVENT_BUS_TOPIC_PREFIX = {{ EVENT_BUS_REDIS_TOPIC_PREFIX|tojson }}
EVENT_BUS_PRODUCER = "edx_event_bus_redis.create_producer"
EVENT_BUS_CONSUMER = "edx_event_bus_redis.RedisEventConsumer"
EVENT_BUS_PRODUCER_CONFIG = merge_producer_configs(
    globals().get("EVENT_BUS_PRODUCER_CONFIG", {}),
    {{ EVENT_BUS_REDIS_PRODUCER_CONFIG|pprint|indent(4) }},
)
# End of the event bus on Redis
"""

# Tutor's Redis drops any key when its memory is full. Only what has an end anyway may go, such as caches: no stream.
REDIS = """
maxmemory-policy volatile-lru
"""

# What starts a pool, as a list in JSON, whose last part is the JSON of --extra.
ARGUMENTS = """
{%- macro arguments(consumer) -%}
{% set extra = dict(
    consumer.get("extra", {}),
    consumer_name=consumer["name"],
    workers=consumer["workers"],
    check_backlog=True,
    shutdown_timeout=EVENT_BUS_REDIS_SHUTDOWN_TIMEOUT,
    monitor_port=EVENT_BUS_REDIS_MONITOR_PORT,
    monitor_host="0.0.0.0",
) %}
{{- [
    "./manage.py", consumer["service"], "consume_events", "--topic", consumer["topic"], "--group_id", consumer["group"],
    "--extra", extra|tojson,
]|tojson }}
{%- endmacro -%}
"""

COMPOSE = (
    ARGUMENTS
    + """
{%- for consumer in EVENT_BUS_REDIS_CONSUMERS %}
event-bus-{{ consumer["name"] }}:
  image: {{ DOCKER_IMAGE_OPENEDX }}
  environment:
    SERVICE_VARIANT: {{ consumer["service"] }}
    DJANGO_SETTINGS_MODULE: {{ consumer["service"] }}.envs.tutor.production
  command: {{ arguments(consumer) }}
  init: true
  restart: unless-stopped
  stop_grace_period: {{ EVENT_BUS_REDIS_SHUTDOWN_TIMEOUT + 15 }}s
  healthcheck:
    test:
      - CMD
      - python
      - -c
      - import urllib.request; urllib.request.urlopen("http://127.0.0.1:{{ EVENT_BUS_REDIS_MONITOR_PORT }}/healthz")
    interval: 30s
    timeout: 10s
    retries: 3
    start_period: 300s
  volumes:
    - ../apps/openedx/settings/lms:/openedx/edx-platform/lms/envs/tutor:ro,z
    - ../apps/openedx/settings/cms:/openedx/edx-platform/cms/envs/tutor:ro,z
    - ../apps/openedx/config:/openedx/config:ro,z
    - ../../data/{{ consumer["service"] }}:/openedx/data:z
    - ../../data/openedx-media:/openedx/media:z
    - ../../data/openedx-media-private:/openedx/media-private:z
    {%- for mount in iter_mounts(MOUNTS, "openedx", consumer["service"] ~ "-worker") %}
    - {{ mount }}:z
    {%- endfor %}
  depends_on:
    - {{ consumer["service"] }}
{%- endfor %}
"""
)

KUBERNETES = (
    ARGUMENTS
    + """
{%- for consumer in EVENT_BUS_REDIS_CONSUMERS %}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: event-bus-{{ consumer["name"] }}
  labels:
    app.kubernetes.io/name: event-bus-{{ consumer["name"] }}
spec:
  selector:
    matchLabels:
      app.kubernetes.io/name: event-bus-{{ consumer["name"] }}
  template:
    metadata:
      labels:
        app.kubernetes.io/name: event-bus-{{ consumer["name"] }}
    spec:
      terminationGracePeriodSeconds: {{ EVENT_BUS_REDIS_SHUTDOWN_TIMEOUT + 15 }}
      securityContext:
        runAsUser: 1000
        runAsGroup: 1000
      containers:
        - name: consumer
          image: {{ DOCKER_IMAGE_OPENEDX }}
          args: {{ arguments(consumer) }}
          env:
            - name: SERVICE_VARIANT
              value: {{ consumer["service"] }}
            - name: DJANGO_SETTINGS_MODULE
              value: {{ consumer["service"] }}.envs.tutor.production
          ports:
            - name: monitor
              containerPort: {{ EVENT_BUS_REDIS_MONITOR_PORT }}
          startupProbe:
            httpGet: {path: /healthz, port: monitor}
            periodSeconds: 5
            failureThreshold: 60
          livenessProbe:
            httpGet: {path: /healthz, port: monitor}
            periodSeconds: 10
            timeoutSeconds: 3
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /readyz, port: monitor}
            periodSeconds: 5
            timeoutSeconds: 3
            failureThreshold: 2
          resources:
            requests:
              memory: 1Gi
          securityContext:
            allowPrivilegeEscalation: false
          volumeMounts:
            - mountPath: /openedx/edx-platform/lms/envs/tutor/
              name: settings-lms
            - mountPath: /openedx/edx-platform/cms/envs/tutor/
              name: settings-cms
            - mountPath: /openedx/config
              name: config
      volumes:
        - name: settings-lms
          configMap:
            name: openedx-settings-lms
        - name: settings-cms
          configMap:
            name: openedx-settings-cms
        - name: config
          configMap:
            name: openedx-config
{%- endfor %}
"""
)

hooks.Filters.CONFIG_DEFAULTS.add_items([(f"EVENT_BUS_REDIS_{name}", value) for name, value in DEFAULTS.items()])
hooks.Filters.ENV_PATCHES.add_items(
    [
        ("openedx-dockerfile-post-python-requirements", DOCKERFILE),
        ("openedx-common-settings", SETTINGS),
        ("redis-conf", REDIS),
        ("local-docker-compose-prod-services", COMPOSE),
        ("k8s-deployments", KUBERNETES),
    ]
)
