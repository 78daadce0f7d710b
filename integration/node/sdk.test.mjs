// Cloudflare's own SDK, as it comes from npm, against the server that SLUICE_API_URL names. A connector of the tunnel "vpc-1" is
// connected; nothing else is there.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import test from 'node:test';
import Cloudflare from 'cloudflare';

const client = new Cloudflare({ apiToken: process.env.SLUICE_API_TOKEN, baseURL: `${process.env.SLUICE_API_URL}/client/v4`, maxRetries: 0 });
const account_id = '00000000000000000000000000000001';
const account = { account_id };
const tunnels = client.zeroTrust.tunnels.cloudflared;
const { serviceTokens, applications, policies } = client.zeroTrust.access;

const all = async (pages) => {
  const items = [];
  for await (const item of pages) items.push(item);
  return items;
};
const status = (code) => (err) => err instanceof Cloudflare.APIError && err.status === code;
const until = async (what, check) => {
  const deadline = Date.now() + 60_000;
  for (;;) {
    if (await check()) return;
    assert.ok(Date.now() < deadline, `not within a minute: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};

test('tunnels', async () => {
  const made = await tunnels.create({ ...account, name: 'sdk', config_src: 'cloudflare', tunnel_secret: randomBytes(32).toString('base64') });
  assert.equal(made.status, 'inactive');
  assert.equal((await tunnels.get(made.id, account)).name, 'sdk');
  assert.deepEqual((await all(tunnels.list({ ...account, name: 'sdk' }))).map((t) => t.id), [made.id]);
  const first = await tunnels.token.get(made.id, account);
  const edited = await tunnels.edit(made.id, { ...account, name: 'sdk-2', tunnel_secret: randomBytes(32).toString('base64') });
  assert.equal(edited.name, 'sdk-2');
  assert.notEqual(await tunnels.token.get(made.id, account), first);
  await assert.rejects(tunnels.create({ ...account, name: 'sdk-2' }), status(409));
  await assert.rejects(tunnels.edit(made.id, { ...account, tunnel_secret: 'short' }), status(400));
  for (let i = 0; i < 25; i++) await tunnels.create({ ...account, name: `page-${i}` });
  const paged = (await all(tunnels.list({ ...account, per_page: 10 }))).filter((t) => t.name.startsWith('page-'));
  assert.equal(new Set(paged.map((t) => t.id)).size, 25);
  for (const { id } of paged) await tunnels.delete(id, account);
  await tunnels.delete(made.id, account);
  await assert.rejects(tunnels.get(made.id, account), status(404));
});

test('hostnames', async () => {
  const tunnel = await tunnels.create({ ...account, name: 'hosts' });
  const ingress = [
    { hostname: 'sdk.internal.example', service: 'tcp://10.0.0.5:5432', originRequest: {} },
    { hostname: '*.sdk.internal.example', service: 'unix:/run/postgresql/.s.PGSQL.5432' },
    { hostname: '', service: 'http_status:404' },
  ];
  const before = await tunnels.configurations.get(tunnel.id, account);
  const after = await tunnels.configurations.update(tunnel.id, { ...account, config: { ingress } });
  assert.equal(after.version, before.version + 1);
  assert.equal(after.config.ingress.length, 3);
  assert.equal(after.config.ingress[2].service, 'http_status:404');
  for (const bad of [{ hostname: 'a.*.example', service: 'tcp://h:1' }, { hostname: 'a.example', service: 'tcp://h:1', path: '/x' }]) {
    await assert.rejects(tunnels.configurations.update(tunnel.id, { ...account, config: { ingress: [bad, ingress[2]] } }), status(400));
  }
  assert.equal((await tunnels.configurations.get(tunnel.id, account)).version, after.version);
  await tunnels.delete(tunnel.id, account);
});

test('connections', async () => {
  const [tunnel] = await all(tunnels.list({ ...account, name: 'vpc-1' }));
  let connectors;
  await until('four connections', async () => {
    connectors = await all(tunnels.connections.get(tunnel.id, account));
    return connectors[0]?.conns.length === 4;
  });
  const [connector] = connectors;
  assert.ok(connector.version && connector.run_at && connector.conns.every((c) => c.client_id === connector.id && c.origin_ip && c.opened_at));
  assert.equal((await tunnels.connectors.get(connector.id, { ...account, tunnel_id: tunnel.id })).id, connector.id);
  const live = await tunnels.get(tunnel.id, account);
  assert.equal(live.status, 'healthy');
  assert.equal(live.connections.length, 4);
  const old = new Set(connector.conns.map((c) => c.id));
  await tunnels.connections.delete(tunnel.id, { ...account, client_id: connector.id });
  await until('four other connections', async () => {
    const conns = (await all(tunnels.connections.get(tunnel.id, account))).flatMap((c) => c.conns);
    return conns.length === 4 && conns.every((c) => !old.has(c.id));
  });
  // With another token the connector stays out.
  await tunnels.edit(tunnel.id, { ...account, tunnel_secret: randomBytes(32).toString('base64') });
  await until('no connection', async () => (await tunnels.get(tunnel.id, account)).connections.length === 0);
});

test('service tokens', async () => {
  const made = await serviceTokens.create({ ...account, name: 'sdk', duration: '60m' });
  assert.match(made.client_id, /^[0-9a-f]{32}\.access$/);
  assert.ok(made.client_secret);
  assert.equal((await serviceTokens.get(made.id, account)).client_secret, undefined);
  const rotated = await serviceTokens.rotate(made.id, { ...account, previous_client_secret_expires_at: new Date(Date.now() + 3600_000).toISOString() });
  assert.equal(rotated.client_id, made.client_id);
  assert.notEqual(rotated.client_secret, made.client_secret);
  await assert.rejects(serviceTokens.rotate(made.id, { ...account, previous_client_secret_expires_at: new Date(Date.now() + 3600_000).toISOString() }), status(409));
  assert.ok((await serviceTokens.rotate(made.id, account)).client_secret);
  const refreshed = await serviceTokens.refresh(made.id, account);
  assert.ok(refreshed.expires_at > made.expires_at);
  assert.equal((await serviceTokens.update(made.id, { ...account, name: 'renamed', duration: '8760h' })).name, 'renamed');
  assert.deepEqual((await all(serviceTokens.list({ ...account, name: 'renamed' }))).map((t) => t.id), [made.id]);
  assert.equal((await serviceTokens.delete(made.id, account)).id, made.id);
  await assert.rejects(serviceTokens.get(made.id, account), status(404));
});

test('applications and policies', async () => {
  const token = await serviceTokens.create({ ...account, name: 'app' });
  const include = [{ service_token: { token_id: token.id } }];
  const shared = await policies.create({ ...account, name: 'shared', decision: 'non_identity', include });
  assert.equal(shared.reusable, true);
  // Cloudflare's word for a policy that blocks is deny.
  const app = await applications.create({
    ...account, type: 'self_hosted', name: 'sdk', domain: 'app.internal.example', session_duration: '24h',
    policies: [{ id: shared.id, precedence: 1 }, { name: 'own', decision: 'deny', include: [{ everyone: {} }], precedence: 2 }],
  });
  assert.equal(app.policies[1].decision, 'deny');
  assert.deepEqual(app.policies.map((p) => [p.name, p.precedence]), [['shared', 1], ['own', 2]]);
  assert.equal((await policies.get(shared.id, account)).app_count, 1);
  await assert.rejects(policies.delete(shared.id, account), status(409));
  await policies.update(shared.id, { ...account, name: 'shared', decision: 'non_identity', include: [...include, { any_valid_service_token: {} }] });
  assert.equal((await applications.get(app.id, account)).policies[0].include.length, 2);
  const added = await applications.policies.create(app.id, { ...account, name: 'added', decision: 'bypass', include: [{ ip: { ip: '10.0.0.0/8' } }], precedence: 1 });
  assert.deepEqual((await all(applications.policies.list(app.id, account))).map((p) => p.name), ['added', 'shared', 'own']);
  assert.equal((await applications.policies.get(added.id, { ...account, app_id: app.id })).decision, 'bypass');
  await applications.policies.update(added.id, { ...account, app_id: app.id, name: 'changed', decision: 'bypass', include: [{ ip: { ip: '192.0.2.0/24' } }] });
  await applications.policies.delete(added.id, { ...account, app_id: app.id });
  const updated = await applications.update(app.id, { ...account, type: 'self_hosted', name: 'renamed', domain: 'app.internal.example', policies: [shared.id] });
  assert.deepEqual(updated.policies.map((p) => p.id), [shared.id]);
  assert.deepEqual((await all(applications.list({ ...account, domain: 'app.internal.example' }))).map((a) => a.name), ['renamed']);
  assert.equal((await applications.delete(app.id, account)).id, app.id);
  await policies.delete(shared.id, account);
  assert.deepEqual(await all(policies.list(account)), []);
});

test('an API token that is wrong', async () => {
  const stranger = new Cloudflare({ apiToken: 'slat_wrong', baseURL: `${process.env.SLUICE_API_URL}/client/v4`, maxRetries: 0 });
  await assert.rejects(stranger.zeroTrust.tunnels.cloudflared.list(account), status(401));
});
