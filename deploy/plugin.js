"use strict";

const { spawnSync } = require("node:child_process");

/** What `serverless deploy` does besides packaging and CloudFormation: checks, the Lambda zip, and the migrations. */
class Deploy {
  constructor(serverless) {
    this.serverless = serverless;
    this.service = serverless.service;
    this.provider = serverless.getProvider("aws");
    this.hooks = {
      // Now, because a deploy of what was packaged before (--package) takes everything else from that package's settings.
      initialize: () => (this.migrates = this.service.custom.migrate),
      "before:package:cleanup": () => this.check(),
      "before:package:createDeploymentArtifacts": () => this.build(),
      "before:deploy:function:initialize": () =>
        this.refuse("`deploy function` would ship code past the migrations: `serverless deploy` ships it after them."),
      // Before the first call that writes to AWS, the bucket of a first deploy included.
      "before:deploy:deploy": () => this.migrate(),
    };
  }

  /** Refuse what would deploy, but not as meant: a misspelt `prod` must not become a stage with everybody's defaults. */
  check() {
    const stage = this.provider.getStage();
    if (!/^(dev|prod|branch-[a-z0-9-]{1,16})$/.test(stage)) {
      this.refuse(`There is no stage "${stage}": it is dev, prod or branch-NAME (at most 16 of a-z, 0-9 and "-").`);
    }
    if (!["header", "authorizer"].includes(this.service.provider.environment.IDENTITY_SOURCE)) {
      this.refuse(
        `The stage ${stage} needs an identity source: --param identity-source=authorizer, or ` +
          "--param identity-source=header, in which anyone who knows a user id is that user.",
      );
    }
  }

  /** Build the zip that serverless.yml names. */
  build() {
    const { artifact } = this.service.package;
    const options = ["--architecture", this.service.provider.architecture, "--output", artifact];
    this.run("The zip was not built", process.env.PYTHON || "python3", ["deploy/build.py", ...options]);
  }

  /** Migrate the stage's database, so that the new code never meets an older schema. */
  async migrate() {
    if (!this.migrates) return;
    this.serverless.cli.log("Migrating the database");
    const environment = { ...process.env, NEON_DATABASE_URL: await this.databaseUrl() };
    delete environment.NEON_DATABASE_URL_PARAMETER;
    this.run("The migration failed, and nothing is deployed", "make", ["--silent", "migrate"], environment);
  }

  /** The connection string, read as whoever deploys. It goes to the migrations through their environment only. */
  async databaseUrl() {
    const { GetParameterCommand, SSMClient } = require("@aws-sdk/client-ssm"); // installed with osls, which uses it too
    const Name = this.service.provider.environment.NEON_DATABASE_URL_PARAMETER;
    const ssm = new SSMClient(await this.provider.getAwsSdkV3Config());
    try {
      const { Parameter } = await ssm.send(new GetParameterCommand({ Name, WithDecryption: true }));
      return Parameter.Value;
    } catch (error) {
      return this.refuse(
        `The parameter ${Name}, which is to hold the database's URL, cannot be read in ${this.provider.getRegion()} ` +
          `(${error.name}), and nothing is deployed.`,
      );
    }
  }

  /** Run a command, and refuse to go on with what it says when it fails. */
  run(refusal, command, options, env = process.env) {
    const cwd = this.serverless.serviceDir;
    const { error, status, stderr } = spawnSync(command, options, { cwd, env, stdio: ["ignore", 2, "pipe"] });
    if (error) this.refuse(`${refusal}: ${error.message}`);
    if (status !== 0) this.refuse(`${refusal}:\n${stderr}`);
    process.stderr.write(stderr);
  }

  refuse(sentence) {
    throw new this.serverless.classes.Error(sentence.trim());
  }
}

module.exports = Deploy;
