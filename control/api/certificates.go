package api

import (
	"context"
	"net/http"
	"slices"

	"github.com/sluicedb/sluice/control"
	v4 "github.com/sluicedb/sluice/control/api/v4"
)

func (a *API) certificate(c *call) (*control.Certificate, error) {
	c.target = c.PathValue("id")
	certificate, ok := c.snapshot.Certificate(c.target)
	if !ok || certificate.AccountID != c.account {
		return nil, control.ErrNotFound
	}
	return certificate, nil
}

func showCertificate(c *control.Certificate) v4.Certificate {
	return v4.Certificate{
		ID: c.ID, Name: c.Name, CA: c.CA, Certificates: c.PEM, Issuer: c.Issuer, SerialNumber: c.Serial, Signature: c.Signature,
		Type: "custom", ExpiresOn: c.ExpiresOn, UploadedOn: c.UploadedOn, UpdatedAt: c.UploadedOn,
	}
}

// listCertificates lists all of them where the request asks for no page: wrangler does not, and reads one answer.
func (a *API) listCertificates(_ context.Context, c *call) (any, error) {
	query := c.URL.Query()
	certificates := named(query.Get("name"), c.snapshot.Certificates(c.account), func(c *control.Certificate) string { return c.Name })
	switch ca := query.Get("ca"); ca {
	case "":
	case "true", "false":
		certificates = slices.DeleteFunc(slices.Clone(certificates), func(c *control.Certificate) bool { return c.CA != (ca == "true") })
	default:
		return nil, fail(http.StatusBadRequest, codeQuery, "ca: must be true or false")
	}
	if !query.Has("page") && !query.Has("per_page") {
		return whole(certificates, showCertificate), nil
	}
	return paginate(query, certificates, showCertificate)
}

func (a *API) createCertificate(ctx context.Context, c *call) (any, error) {
	var body v4.CertificateCreate
	if err := decodeBody(c.ResponseWriter, c.Request, &body); err != nil {
		return nil, err
	}
	c.target = body.Name
	made, err := a.control.CreateCertificate(ctx, &control.Certificate{
		AccountID: c.account, Name: body.Name, CA: body.CA, PEM: body.Certificates,
		PrivateKey: control.Plaintext(control.Secret(body.PrivateKey)),
	})
	if err != nil {
		return nil, err
	}
	c.target = made.ID
	return showCertificate(made), nil
}

func (a *API) getCertificate(_ context.Context, c *call) (any, error) {
	certificate, err := a.certificate(c)
	if err != nil {
		return nil, err
	}
	return showCertificate(certificate), nil
}

func (a *API) deleteCertificate(ctx context.Context, c *call) (any, error) {
	certificate, err := a.certificate(c)
	if err != nil {
		return nil, err
	}
	return nil, a.control.DeleteCertificate(ctx, c.account, certificate.ID)
}
