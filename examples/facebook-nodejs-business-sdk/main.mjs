// Meta's own Node SDK through Gatehouse: redirect GRAPH, pass a handle as the
// access token.
//
// Environment: GATEHOUSE_URL, META_HANDLE, and NODE_EXTRA_CA_CERTS.
import sdk from 'facebook-nodejs-business-sdk';

const { FacebookAdsApi, FacebookAdsApiBatch, User, Page } = sdk;

function need(name) {
  const value = process.env[name];
  if (!value) throw new Error(`set ${name} (gatehouse demo prints it)`);
  return value;
}

const base = `${need('GATEHOUSE_URL')}/meta`;
Object.defineProperty(FacebookAdsApi, 'GRAPH', { get: () => base }); // was https://graph.facebook.com

const handle = need('META_HANDLE');
// The third argument turns off the SDK's crash reporter, which would post to GRAPH.
const api = FacebookAdsApi.init(handle, 'en_US', false);

const me = await new User('me').get(['id', 'name']);
console.log(`me: ${me.name}`);

// Each page comes with a token of its own. Here it is a handle, too.
const pages = await new User('me').getAccounts(['id', 'name', 'access_token'], { limit: 2 });
const page = pages[0];
if (!page.access_token.startsWith('gth_hnd_')) throw new Error('a page token is not a handle');
console.log(`pages: ${pages.length}, first ${page.name}`);

// Page through a list: the SDK follows paging.next, which leads back to Gatehouse.
const asPage = new FacebookAdsApi(page.access_token, 'en_US', false);
for (let i = 0; i < 3; i++) await asPage.call('POST', [page.id, 'feed'], { message: `Through Gatehouse ${i}` });
const feed = await new Page(page.id, {}, undefined, asPage).getFeed(['id', 'message'], { limit: 2 });
const seen = feed.length;
if (!feed.hasNext()) throw new Error('the feed has no next page');
const next = await feed.next();
console.log(`feed: ${seen} posts, then ${next.length}`);

// Batch: several calls in one request, each judged on its own.
const batch = new FacebookAdsApiBatch(api);
const answers = [];
batch.add('GET', ['me'], { fields: 'id' }, undefined, (r) => answers.push(r.body ?? r), (e) => { throw new Error(JSON.stringify(e)); });
batch.add('GET', ['me', 'accounts'], { fields: 'id,access_token' }, undefined, (r) => answers.push(r.body ?? r), (e) => { throw new Error(JSON.stringify(e)); });
await batch.execute();
if (answers.length !== 2) throw new Error(`batch answered ${answers.length} of 2`);
console.log('batch: 2 answers');

// Logout: removes the app from the person, only when asked for.
if (process.env.LOGOUT === '1') {
  await api.call('DELETE', ['me', 'permissions']);
  const refused = await api.call('GET', ['me']).then(() => false, (error) => error.status === 401 || error.status === 403);
  if (!refused) throw new Error('the handle still works after logout');
  console.log('logout: revoked');
}
