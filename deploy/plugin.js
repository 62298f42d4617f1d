"use strict";

const { spawnSync } = require("node:child_process");

/**
 * What `serverless deploy` does besides packaging and CloudFormation: checks, the Lambda zip, and
 * the database.
 */
class Deploy {
  constructor(serverless) {
    this.serverless = serverless;
    this.service = serverless.service;
    this.provider = serverless.getProvider("aws");
    this.hooks = {
      // Now, because a deploy of what was packaged before (--package) takes everything else from
      // that package's settings.
      initialize: () => ({ migrate: this.migrates, rotate: this.rotates } = this.service.custom),
      "before:package:cleanup": () => this.check(),
      "before:package:createDeploymentArtifacts": () => this.build(),
      "before:deploy:function:initialize": () =>
        this.refuse("`deploy function` would ship code past the migrations: `serverless deploy` ships it after them."),
      // Before the stack and the bucket of a first deploy.
      "before:deploy:deploy": () => this.prepareDatabase(),
    };
  }

  /**
   * Refuse what would deploy, but not as meant: a misspelt `prod` must not become a stage with
   * everybody's defaults.
   */
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

  /**
   * Migrate the stage's database, so that the new code never meets an older schema, and see to the
   * function's login.
   */
  async prepareDatabase() {
    if (!this.migrates) return;
    const { SSM } = require("@aws-sdk/client-ssm"); // installed with osls, which uses it too
    this.ssm = new SSM(await this.provider.getAwsSdkV3Config());
    // Connection strings go to the commands through their environment only.
    const env = { ...process.env, NEON_DATABASE_URL: await this.readParameter(this.service.custom.ownerUrlParameter) };
    delete env.NEON_DATABASE_URL_PARAMETER;
    this.serverless.cli.log("Migrating the database");
    // Of `make deploy`: with --ignore-errors, a failed migration would look like a success.
    delete env.MAKEFLAGS;
    // Always to the newest revision, whatever REVISION is in the environment.
    const migrate = ["--silent", "migrate", "REVISION="];
    this.run("The migration failed, and nothing is deployed", "make", migrate, { env });
    await this.createLogin(env);
  }

  /**
   * Write a login of the function's own to the parameter that it reads, unless the one that is
   * there works.
   */
  async createLogin(environment) {
    const Name = this.service.provider.environment.NEON_DATABASE_URL_PARAMETER;
    const { databaseUrlKey } = this.service.custom;
    const env = { ...environment, RUNTIME_DATABASE_URL: await this.readParameter(Name, "") };
    const login = (refusal, ...options) => {
      const command = ["-m", "deploy.runtime_login", ...options, this.provider.getStage()];
      return this.run(refusal, ".venv/bin/python", command, { env, stdout: "pipe" });
    };
    const refusal = `The function has no login of its own for the parameter ${Name}, and nothing is deployed`;
    const Value = login(refusal, "create", ...(this.rotates ? ["--rotate"] : []));
    if (!Value) return;
    this.serverless.cli.log(`Writing a new login of the function to ${Name}`);
    const KeyId = typeof databaseUrlKey === "string" ? databaseUrlKey : undefined; // Parameter Store's default key
    try {
      await this.ssm.putParameter({ Name, Value, KeyId, Type: "SecureString", Overwrite: true });
    } catch (error) {
      this.refuse(`The parameter ${Name} cannot be written (${error.name}), and nothing is deployed.`);
    }
    login("The function has a new login, but the one before it still works, and nothing is deployed", "close");
  }

  /** A connection string, read as whoever deploys; `missing` where there is none. */
  async readParameter(Name, missing) {
    try {
      return (await this.ssm.getParameter({ Name, WithDecryption: true })).Parameter.Value;
    } catch (error) {
      if (error.name === "ParameterNotFound" && missing !== undefined) return missing;
      return this.refuse(
        `The parameter ${Name}, which is to hold the database's URL, cannot be read in ${this.provider.getRegion()} ` +
          `(${error.name}), and nothing is deployed.`,
      );
    }
  }

  /** Run a command and return its output, or refuse to go on with what it says when it fails. */
  run(refusal, command, options, { env = process.env, stdout = 2 } = {}) {
    const stdio = ["ignore", stdout, "pipe"];
    const outcome = spawnSync(command, options, { cwd: this.serverless.serviceDir, env, stdio, encoding: "utf8" });
    if (outcome.error) this.refuse(`${refusal}: ${outcome.error.message}`);
    if (outcome.status !== 0) this.refuse(`${refusal}:\n${outcome.stderr}`);
    process.stderr.write(outcome.stderr);
    return outcome.stdout;
  }

  refuse(sentence) {
    throw new this.serverless.classes.Error(sentence.trim());
  }
}

module.exports = Deploy;
