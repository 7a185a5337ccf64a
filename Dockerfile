# The command `postcopy` in a container: docs/containers.md says how to run it.
#
#   docker build -t postcopy .
#   docker run --rm --device /dev/userfaultfd postcopy demo

# Builds the addon and the package, as npm would publish it.
FROM node:20-bookworm-slim AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ make python3 \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN npm run build && mkdir /out && npm pack --pack-destination /out

# Node and that package: the addon is in it, so nothing is compiled here.
FROM node:20-bookworm-slim
COPY --from=build /out /tmp/package
RUN npm install --global /tmp/package/*.tgz \
 && rm -rf /tmp/package ~/.npm
USER node
WORKDIR /home/node
ENTRYPOINT ["postcopy"]
CMD ["probe"]
