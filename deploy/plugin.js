"use strict";

const { spawn, spawnSync } = require("node:child_process");
const { existsSync } = require("node:fs");
const path = require("node:path");
const { createInterface } = require("node:readline");

const PYTHON = ".venv/bin/python";

/**
 * What each value below `custom` of serverless.yml has to be. An object is CloudFormation's, as
 * AWS::NoValue.
 */
const FORMS = {
  "database-url-parameter": [/^\/[\w./-]+$/, 'the name of a parameter, which begins with "/"'],
  "database-url-key": [/^arn:[\w-]+:kms:[\w-]+:\d+:key\/[\w-]+$/, "the ARN of a key"],
  "alarm-topic": [/^arn:[\w-]+:sns:[\w-]+:\d+:[\w-]+$/, "the ARN of an SNS topic"],
  "permissions-boundary": [/^arn:[\w-]+:iam::\d+:policy\/[\w+=,.@/-]+$/, "the ARN of a policy"],
  "requests-per-second": [/^[1-9]\d*$/, "a whole number above 0"],
  burst: [/^[1-9]\d*$/, "a whole number above 0"],
  "reserved-concurrency": [/^[1-9]\d*$/, "a whole number above 0: with 0 the function answers nothing"],
};

/** How long Parameter Store may take for one call. */
const PARAMETER_MILLISECONDS = 10_000;

/** Why a call of Parameter Store failed: its name for the error, or that its time was over. */
function reasonOf(error) {
  const isOver = ["AbortError", "TimeoutError"].includes(error.name);
  return isOver ? `no answer for ${PARAMETER_MILLISECONDS / 1000} s` : error.name;
}

/**
 * What `serverless deploy` does besides packaging and CloudFormation: checks, the Lambda zip, and
 * the database.
 */
class Deploy {
  constructor(serverless, options) {
    this.serverless = serverless;
    this.service = serverless.service;
    this.provider = serverless.getProvider("aws");
    this.package = options.package;
    // Now, because the framework reads them next, and prints one error for each place that uses
    // one.
    this.checkOptions(options.param ?? []);
    this.hooks = {
      // Now, because a deploy of what was packaged before (--package) takes everything else from
      // that package's settings.
      initialize: () => ({ migrate: this.migrates, rotate: this.rotates } = this.service.custom),
      "before:package:cleanup": () => this.check(),
      "before:package:createDeploymentArtifacts": () => this.build(),
      "before:deploy:function:initialize": () =>
        this.refuse("`deploy function` would ship code past the migrations: `serverless deploy` ships it after them."),
      // Before the stack and the bucket of a first deploy.
      "before:deploy:deploy": () => {
        if (this.isPackaged()) this.checkPackage();
        return this.prepareDatabase();
      },
    };
  }

  /**
   * Refuse a `--param` that nothing reads: the framework takes any name, and deploys without it.
   */
  checkOptions(options) {
    const known = Object.values(this.serverless.configurationInput.params).flatMap(Object.keys);
    for (const option of options) {
      const [name, ...value] = option.split("=");
      if (!known.includes(name)) {
        this.refuse(`There is no parameter "${name}": serverless.yml lists them below params.`);
      }
      if (value.join("=").trim() === "") {
        this.refuse(
          `The parameter ${name} has no value: leave it out, or set it below params in serverless.yml.`,
        );
      }
      if (this.isPackaged() && !["migrate", "rotate"].includes(name)) {
        this.refuse(
          `The parameter ${name} changes nothing in a package: give it to \`serverless package\`.`,
        );
      }
    }
  }

  /** Whether this is a deploy of what `serverless package` has made before. */
  isPackaged() {
    return this.package !== undefined && this.serverless.processedInput.commands[0] === "deploy";
  }

  /**
   * Refuse a package for another stage or region. The framework has read the package's settings by
   * now.
   */
  checkPackage() {
    const { stage, region } = this.service.provider;
    if (stage !== this.provider.getStage() || region !== this.provider.getRegion()) {
      this.refuse(
        `The package is for the stage ${stage} in ${region}, and this deploys ` +
          `${this.provider.getStage()} in ${this.provider.getRegion()}.`,
      );
    }
    this.check();
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
    const wrong = Object.entries(FORMS).filter(([name, [form]]) => {
      const value = this.service.custom[name];
      return value !== null && typeof value !== "object" && !form.test(value);
    });
    if (wrong.length > 0) {
      // Without the values, which may be secrets in the wrong place.
      const sentences = wrong.map(([name, [, description]]) => `The parameter ${name} must be ${description}.`);
      this.refuse(sentences.join(" "));
    }
    this.checkSettings();
  }

  /**
   * Give the function's variables to its own settings: what they refuse would be a 500 for each
   * request.
   */
  checkSettings() {
    const refusal = "The function would not start with these settings";
    if (!existsSync(path.join(this.serverless.serviceDir, PYTHON))) {
      if (this.serverless.processedInput.commands[0] !== "deploy") {
        this.refuse(
          `The settings cannot be checked, because ${PYTHON} is missing: ` +
            "`make .venv/serving` installs it.",
        );
      }
      this.make("The settings cannot be checked", ".venv/serving");
    }
    const { provider, functions } = this.service;
    const variables = Object.entries({ ...provider.environment, ...functions.api.environment });
    // An object is CloudFormation's, and has no value yet.
    const env = Object.fromEntries(variables.filter(([, value]) => typeof value !== "object"));
    this.run(refusal, PYTHON, ["-m", "deploy.check_settings"], { env });
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
    const ownerUrl = await this.readParameter(this.service.custom["database-url-parameter"]);
    const env = { ...process.env, NEON_DATABASE_URL: ownerUrl };
    delete env.NEON_DATABASE_URL_PARAMETER;
    this.serverless.cli.log("Migrating the database");
    // Always to the newest revision, whatever REVISION is in the environment.
    this.make("The migration failed, and nothing is deployed", "migrate", ["REVISION="], env);
    await this.renewLogin(env);
  }

  /**
   * Keep the login in the parameter that the function reads, or replace it. deploy/runtime_login.py
   * decides, and asks for the parameter while it holds its lock.
   */
  async renewLogin(env) {
    const Name = this.service.provider.environment.NEON_DATABASE_URL_PARAMETER;
    const options = [this.provider.getStage(), "--request-seconds", String(this.service.provider.timeout)];
    if (this.rotates) options.push("--rotate");
    const refusal = `The step for the login in the parameter ${Name} failed, and nothing is deployed`;
    const answer = (request, Value) =>
      request === "read" ? this.readParameter(Name, "") : this.writeParameter(Name, Value);
    await this.converse(refusal, PYTHON, ["-m", "deploy.runtime_login", ...options], env, answer);
  }

  /** Write a connection string to a parameter. */
  async writeParameter(Name, Value) {
    this.serverless.cli.log(`Writing a new login of the function to ${Name}`);
    const databaseUrlKey = this.service.custom["database-url-key"];
    const KeyId = typeof databaseUrlKey === "string" ? databaseUrlKey : undefined; // Parameter Store's default key
    try {
      const parameter = { Name, Value, KeyId, Type: "SecureString", Overwrite: true };
      await this.ssm.putParameter(parameter, { abortSignal: AbortSignal.timeout(PARAMETER_MILLISECONDS) });
    } catch (error) {
      this.refuse(`The parameter ${Name} cannot be written (${reasonOf(error)}), and nothing is deployed.`);
    }
    return "";
  }

  /** A connection string, read as whoever deploys; `missing` where there is none. */
  async readParameter(Name, missing) {
    try {
      const abortSignal = AbortSignal.timeout(PARAMETER_MILLISECONDS);
      return (await this.ssm.getParameter({ Name, WithDecryption: true }, { abortSignal })).Parameter.Value;
    } catch (error) {
      if (error.name === "ParameterNotFound" && missing !== undefined) return missing;
      return this.refuse(
        `The parameter ${Name}, which is to hold the database's URL, cannot be read in ${this.provider.getRegion()} ` +
          `(${reasonOf(error)}), and nothing is deployed.`,
      );
    }
  }

  /** Make a target of the Makefile. */
  make(refusal, target, variables = [], environment = process.env) {
    const env = { ...environment };
    // Of `make deploy`: with --ignore-errors, a failure would look like a success.
    delete env.MAKEFLAGS;
    this.run(refusal, "make", ["--silent", target, ...variables], { env });
  }

  /** Run a command, or refuse to go on with what it says when it fails. */
  run(refusal, command, options, { env = process.env } = {}) {
    const stdio = ["ignore", 2, "pipe"];
    const outcome = spawnSync(command, options, { cwd: this.serverless.serviceDir, env, stdio, encoding: "utf8" });
    if (outcome.error) this.refuse(`${refusal}: ${outcome.error.message}`);
    if (outcome.status !== 0) this.refuse(`${refusal}:\n${outcome.stderr}`);
    process.stderr.write(outcome.stderr);
  }

  /** Run a command that asks for what it needs: each line of its output is a request, as JSON. */
  async converse(refusal, command, options, env, answer) {
    const child = spawn(command, options, { cwd: this.serverless.serviceDir, env });
    const end = new Promise((resolve) => {
      child.on("error", (error) => resolve(error.message));
      child.on("close", resolve);
    });
    let messages = "";
    child.stderr.setEncoding("utf8").on("data", (text) => (messages += text));
    child.stdin.on("error", () => {}); // it has ended, and its messages say why
    try {
      for await (const request of createInterface({ input: child.stdout })) {
        child.stdin.write(`${JSON.stringify(await answer(...JSON.parse(request)))}\n`);
      }
    } finally {
      child.stdin.end();
    }
    const status = await end;
    if (typeof status === "string") this.refuse(`${refusal}: ${status}`);
    if (status !== 0) this.refuse(`${refusal}:\n${messages}`);
    process.stderr.write(messages);
  }

  refuse(sentence) {
    throw new this.serverless.classes.Error(sentence.trim());
  }
}

module.exports = Deploy;
