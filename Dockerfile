# Both servers in one image: `gatepost idp` and `gatepost resource`. Any Debian with Python 3.11 to 3.14 and venv can be
# the base: --build-arg BASE=….
ARG BASE=docker.io/library/python:3.14.7-slim-bookworm

FROM ${BASE} AS build
COPY requirements.lock /tmp/
RUN python3 -m venv /opt/gatepost \
 && /opt/gatepost/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary :all: --require-hashes \
    -r /tmp/requirements.lock \
 && /opt/gatepost/bin/pip uninstall --yes --quiet pip setuptools
# The code as in a checkout, found by a .pth file: a wheel would want a builder, which is not in the hashed lock.
COPY idp /opt/gatepost/app/idp
COPY resource /opt/gatepost/app/resource
COPY templates /opt/gatepost/app/templates
COPY emails /opt/gatepost/app/emails
COPY deploy/compose/gatepost /opt/gatepost/bin/gatepost
RUN site="$(/opt/gatepost/bin/python -c 'import site; print(site.getsitepackages()[0])')" \
 && printf '/opt/gatepost/app/idp\n/opt/gatepost/app/resource\n' > "$site/gatepost.pth" \
 && /opt/gatepost/bin/python -m compileall -q /opt/gatepost/app \
 && chmod 0755 /opt/gatepost/bin/gatepost

FROM ${BASE}
COPY --from=build /opt/gatepost /opt/gatepost
# Volumes take over whose these folders are: one for each secret, so that each server is given its own alone.
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/gatepost \
 && cd /var/lib/gatepost && install -d -o 10001 -g 10001 -m 0755 var keys database introspection approvals certificates
ENV PATH=/opt/gatepost/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    IDP_HOST=0.0.0.0 \
    RESOURCE_HOST=0.0.0.0
WORKDIR /var/lib/gatepost
USER 10001:10001
EXPOSE 9000 9001
ENTRYPOINT ["gatepost"]
CMD ["idp"]
