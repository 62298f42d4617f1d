"use strict";

// Reads one JSON document, {policy, boundary, requests}, and writes whether IAM would allow each
// request.
const { readFileSync } = require("node:fs");
const { runSimulation, runUnsafeSimulation } = require("@cloud-copilot/iam-simulate");

const ACCOUNT = "123456789012";

/** The policy that a new key has: it leaves the decision to IAM. */
const KEY_POLICY = {
  Version: "2012-10-17",
  Statement: [{ Effect: "Allow", Principal: { AWS: `arn:aws:iam::${ACCOUNT}:root` }, Action: "kms:*", Resource: "*" }],
};

/**
 * Whether IAM allows a request. A condition key that AWS does not send with its action does not
 * count.
 */
async function isAllowed({ policy, boundary }, { action, resource, context }) {
  const simulation = {
    request: {
      action,
      principal: `arn:aws:iam::${ACCOUNT}:role/any`,
      resource: { resource, accountId: ACCOUNT },
      contextVariables: context,
    },
    identityPolicies: [{ name: "policy", policy }],
    permissionBoundaryPolicies: boundary && [{ name: "boundary", policy: boundary }],
    resourcePolicy: action.startsWith("kms:") ? KEY_POLICY : undefined,
    serviceControlPolicies: [],
    resourceControlPolicies: [],
  };
  // Of API Gateway the package knows only the REST APIs' resources, so it cannot check the keys of
  // these requests.
  if (action.startsWith("apigateway:")) return runUnsafeSimulation(simulation, {}) === "Allowed";
  const response = await runSimulation(simulation, {});
  if (response.resultType === "error") {
    throw new Error(`${action} on ${resource}: ${JSON.stringify(response.errors)}`);
  }
  return response.overallResult === "Allowed";
}

async function main() {
  const { requests, ...policies } = JSON.parse(readFileSync(0, "utf8"));
  const results = [];
  for (const request of requests) results.push(await isAllowed(policies, request));
  process.stdout.write(JSON.stringify(results));
}

main();
