/**
 * Keycloak, script mapper for OpenID Connect (feature `scripts`): eligibility as a claim, from Vouchsafe's `/sso/userinfo`.
 *
 * Deployed in a JAR beside `META-INF/keycloak-scripts.json`; docs/sso.md has both. Attributes of the realm: vouchsafe.url,
 * vouchsafe.client_id, vouchsafe.client_secret, vouchsafe.resource. The value of the last line becomes the claim; whatever
 * goes wrong, it says no. Users are known by Keycloak's own immutable id.
 */
var HttpClient = Java.type('java.net.http.HttpClient');
var HttpRequest = Java.type('java.net.http.HttpRequest');
var BodyHandlers = Java.type('java.net.http.HttpResponse$BodyHandlers');
var BodyPublishers = Java.type('java.net.http.HttpRequest$BodyPublishers');
var URI = Java.type('java.net.URI');
var Duration = Java.type('java.time.Duration');
var Base64 = Java.type('java.util.Base64');
var JavaString = Java.type('java.lang.String');

var PATIENCE = Duration.ofMillis(1000);

function post(url, authorization, contentType, body) {
    var request = HttpRequest.newBuilder(URI.create(url)).timeout(PATIENCE)
        .header('Authorization', authorization).header('Content-Type', contentType)
        .POST(BodyPublishers.ofString(body)).build();
    // Redirects are not followed.
    var client = HttpClient.newBuilder().connectTimeout(PATIENCE).build();
    var response = client.send(request, BodyHandlers.ofString());
    if (response.statusCode() !== 200) throw new Error('' + response.statusCode());
    return JSON.parse(response.body());
}

function ask() {
    var setting = function (name) { return '' + realm.getAttribute('vouchsafe.' + name); };
    var pair = setting('client_id') + ':' + setting('client_secret');
    var basic = 'Basic ' + Base64.getEncoder().encodeToString(new JavaString(pair).getBytes('UTF-8'));
    var grant = 'grant_type=client_credentials&scope=sso:claims';
    var token = post(setting('url') + '/oauth2/token', basic, 'application/x-www-form-urlencoded', grant).access_token;
    var sub = '' + user.getId();
    var asked = JSON.stringify({ sub: sub, resource: setting('resource') });
    var told = post(setting('url') + '/sso/userinfo', 'Bearer ' + token, 'application/json', asked);
    return told.sub === sub && told.eligibility.allowed === true ? told.eligibility : { allowed: false };
}

var answer;
try {
    answer = ask();
} catch (error) {
    answer = { allowed: false };
}
// As JSON text: set the mapper's claim type to `JSON`.
exports = JSON.stringify(answer);
