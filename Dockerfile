# Airflow with Lethe: what docker-compose.yaml runs. The packages are those of the lock file, on Airflow's own image.
FROM apache/airflow:3.3.2-python3.12

# The lock pins Airflow too, so that nothing of the image is replaced by another release of it.
COPY --chown=airflow:root requirements.txt /opt/airflow/requirements.txt
RUN pip install --no-cache-dir --require-hashes --requirement /opt/airflow/requirements.txt

COPY --chown=airflow:root pyproject.toml README.md /opt/airflow/
COPY --chown=airflow:root include /opt/airflow/include
COPY --chown=airflow:root docs/runbook.md /opt/airflow/docs/runbook.md
COPY --chown=airflow:root expectations /opt/airflow/expectations
COPY --chown=airflow:root config /opt/airflow/config
COPY --chown=airflow:root dags /opt/airflow/dags
COPY --chown=airflow:root plugins /opt/airflow/plugins

# Editable: a mounted include/ takes effect.
RUN pip install --no-cache-dir --no-deps --editable /opt/airflow
