export default class Thing extends AbstractCrudObject {
  static get Fields (): Object {
    return Object.freeze({
      id: 'id',
      n_3g: '3g',
      weight: 'weight',
    });
  }

  getParts (fields: Array<string>): Cursor | Promise<*> {
    return this.getEdge(
      Part,
      fields,
      '/parts'
    );
  }

  createPart (fields: Array<string>): Promise<Part> {
    return this.createEdge(
      '/parts',
      fields,
    );
  }

  deleteLabels (params: Object = {}): Promise<*> {
    return super.deleteEdge(
      '/labels',
      params
    );
  }

  get (fields: Array<string>): Thing {
    return this.read(fields);
  }
}
