// oidc-provider's adapter interface (its documentation, "Adapter") over Redis: what is consumed is a hash, the rest
// a string; what belongs to a grant is listed under it.
import process from 'node:process';

import Redis from 'ioredis';

const client = new Redis(process.env.REDIS_URL, { keyPrefix: 'oidc:' });
const CONSUMABLE = new Set([
  'AuthorizationCode', 'RefreshToken', 'DeviceCode', 'BackchannelAuthenticationRequest',
]);
const OF_GRANTS = new Set([...CONSUMABLE, 'AccessToken']);

const grantKey = (id) => `grant:${id}`;
const uidKey = (uid) => `uid:${uid}`;
const userCodeKey = (code) => `userCode:${code}`;

export default class RedisAdapter {
  constructor(name) {
    this.name = name;
  }

  key(id) {
    return `${this.name}:${id}`;
  }

  async upsert(id, payload, expiresIn) {
    const key = this.key(id);
    const multi = client.multi();
    const text = JSON.stringify(payload);
    if (CONSUMABLE.has(this.name)) multi.hset(key, { payload: text });
    else multi.set(key, text);
    if (expiresIn) multi.expire(key, expiresIn);
    if (OF_GRANTS.has(this.name) && payload.grantId) {
      multi.rpush(grantKey(payload.grantId), key);
      if (expiresIn) multi.expire(grantKey(payload.grantId), expiresIn, 'GT');
    }
    if (payload.userCode) multi.set(userCodeKey(payload.userCode), id, 'EX', expiresIn);
    if (payload.uid) multi.set(uidKey(payload.uid), id, 'EX', expiresIn);
    await multi.exec();
  }

  async find(id) {
    if (!CONSUMABLE.has(this.name)) {
      const text = await client.get(this.key(id));
      return text ? JSON.parse(text) : undefined;
    }
    const { payload, ...rest } = await client.hgetall(this.key(id));
    return payload ? { ...rest, ...JSON.parse(payload) } : undefined;
  }

  async findByUid(uid) {
    const id = await client.get(uidKey(uid));
    return id ? this.find(id) : undefined;
  }

  async findByUserCode(code) {
    const id = await client.get(userCodeKey(code));
    return id ? this.find(id) : undefined;
  }

  async consume(id) {
    await client.hset(this.key(id), 'consumed', Math.floor(Date.now() / 1000));
  }

  async destroy(id) {
    await client.del(this.key(id));
  }

  async revokeByGrantId(grantId) {
    const keys = await client.lrange(grantKey(grantId), 0, -1);
    const multi = client.multi();
    keys.forEach((key) => multi.del(key));
    multi.del(grantKey(grantId));
    await multi.exec();
  }
}
